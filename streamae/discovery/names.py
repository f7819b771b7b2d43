"""What the name of a field hints at. A hint only breaks ties: contents decide first.

Must not know: what a field holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_SMALL = r"[^\W\d_A-Z]"  # any letter but an upper-case one of ASCII
_PARTS = re.compile(rf"[A-Z]?{_SMALL}+|[A-Z]+(?!{_SMALL})|\d+")
_ELEMENT = re.compile(r"(?<!\\)\.")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TIME = _words(
    "time timestamp datetime date ts t utc epoch when at moment instant zeit datum uhrzeit fecha hora heure horodatage tijd ora"
)
NOT_THE_EVENT = _words("ingest ingested received processed updated inserted created end expires birth dob")
STRICTLY_ELAPSED = _words("elapsed seconds sec secs ms millis duration offset relative")
KEYS = _words(  # the more telling first
    "key device host hostname node instance machine unit sensor asset card pump engine turbine meter station vehicle"
    " car tank motor robot pod container server equipment account customer client user patient channel line plant"
    " site location tenant service vin imei mmsi callsign deveui tag"
    " gerät geraet anlage maschine appareil capteur equipo máquina maquina point"
)
NO_KEY = _words("type kind status state model version mode")
ID = _words("id ids uuid guid nr no serial mac")
RECORD = _words("id uuid guid transaction txn trans tx event message msg record row order request seq")
LABEL = _words(
    "label labels class target anomaly anomalies anomalous outlier outliers fraud fraudulent changepoint attack"
    " intrusion isfraud isanomaly isoutlier ground truth groundtruth"
)
PLACE = _words("lat lon lng latitude longitude")
METRIC = _words(
    "name metric parameter param variable measurement measure quantity tag tagname signal attribute property item"
    " metricname sensortype channel field type merkmal kanal messgröße messgroesse grandeur magnitud grandezza"
)
VALUE = _words("value values val reading readings measurement v number hrf raw data messwert wert valeur valor valore")
STATES = frozenset(  # words of what something is doing, in some languages: they name no thing
    _words(
        "on off yes no y n t f true false open opened closed close running run stopped stop idle active inactive enabled"
        " disabled up down ok nok ready normal abnormal fault error alarm auto manual high low an aus ein ja nein auf zu"
        " offen geschlossen oui non marche arrêt ouvert fermé si sí encendido apagado abierto cerrado acceso spento"
        " aperto chiuso aan uit"
    )
)


def parts(field: str) -> tuple[str, ...]:
    r"""Return the lower-case words of the last element of a path.

    Example:
        >>> parts("tags.hostName"), parts("utc_timestamp"), parts(r"T\.degC")
        (('host', 'name'), ('utc', 'timestamp'), ('t', 'deg', 'c'))
    """
    return tuple(part.lower() for part in _PARTS.findall(_ELEMENT.split(field)[-1]))


def hints_at(field: str, words: Collection[str]) -> bool:
    """Tell whether a word of the field, or all of them written together, is one of `words`."""
    found = parts(field)
    return any(part in words for part in found) or "".join(found) in words


def is_id(field: str) -> bool:
    """Tell whether a field is called an id: `device_id`, `meterId`, `id`."""
    found = parts(field)
    return bool(found) and found[-1] in ID


def names_only_keys(field: str) -> bool:
    """Tell whether every word of a field names a key or an id: `pump_nr`, not `pump_speed` or `sensor_1`."""
    found = parts(field)
    return bool(found) and all(part in ID or part in KEYS for part in found)


def key_rank(field: str) -> int | None:
    """Return how telling the name of a key is, 0 = most; None = it does not sound like a key."""
    found = parts(field)
    ranks = [KEYS.index(part) for part in found if part in KEYS]
    if any(part in NO_KEY for part in found):
        return None
    if ranks:
        return min(ranks)
    return len(KEYS) if is_id(field) else None
