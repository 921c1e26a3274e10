"""Real servers for the whole session; each is skipped, in one line, where its Debian package is missing."""

from tests.integration.servers.gateway import gateway
from tests.integration.servers.nginx import nginx
from tests.integration.servers.openssh import openssh
from tests.integration.servers.orthanc import orthanc
from tests.integration.servers.postgres import postgres
from tests.integration.servers.swift import swift

__all__ = ["gateway", "nginx", "openssh", "orthanc", "postgres", "swift"]
