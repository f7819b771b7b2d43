"""A real broker that lets a user do only what was granted: for what start-up and output say when rights are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from pydantic import SecretStr

from scripts.services import KafkaBroker
from scripts.services.process import free_port
from streamae.settings.connections import KafkaSettings

USER, PASSWORD = "alice", "alice-password"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class SecuredBroker(KafkaBroker):
    """Two listeners: without a password everything is allowed, as `USER` only what `allow` has granted."""

    def __init__(self) -> None:
        super().__init__()
        self.user_port = free_port()

    def _write_properties(self) -> Path:
        path = super()._write_properties()
        settings = dict(line.split("=", 1) for line in path.read_text().splitlines())
        listener = f",SASL_PLAINTEXT://127.0.0.1:{self.user_port}"
        settings["listeners"] += listener
        settings["advertised.listeners"] += listener
        settings["listener.security.protocol.map"] += ",SASL_PLAINTEXT:SASL_PLAINTEXT"
        settings |= {
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{LOGIN} user_{USER}="{PASSWORD}";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return path

    def settings(self, group: str, **more: Any) -> KafkaSettings:
        """Return how `USER` connects."""
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{self.user_port}",
            group_id=group,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=USER,
            sasl_password=SecretStr(PASSWORD),
            request_timeout_ms=5_000,
            session_timeout_ms=6_000,
            transaction_timeout_ms=3_000,
            **more,
        )

    def allow(self, resource: ResourceType, name: str, *operations: ACLOperation) -> None:
        """Grant operations on one resource to `USER`."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        try:
            pattern = ResourcePattern(resource, name)
            admin.create_acls(
                [ACL(f"User:{USER}", "*", operation, ACLPermissionType.ALLOW, pattern) for operation in operations]
            )
        finally:
            admin.close()
