"""streamae: a streaming anomaly detector for keyed Kafka streams.

Importing the package imports neither torch nor any service client.
"""

__version__ = "0.1.0"
