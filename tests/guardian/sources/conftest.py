"""What tests of sources share: a run of deliveries in the background, and certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from guardian.decode.syslog import decode_syslog
from guardian.journal.records import Record
from guardian.ports import Source


@dataclass
class Run:
    """What a source delivered so far, as if a caller had made each record durable."""

    records: list[Record] = field(default_factory=list)
    taking: asyncio.Event = field(default_factory=asyncio.Event)

    def bodies(self) -> list[str]:
        """The text of every event."""
        return [body or "" for record in self.records for body in self.column(record, "body")]

    @staticmethod
    def column(record: Record, name: str) -> list[str]:
        decoded = decode_syslog(record.body, content_type=record.content_type, received_at=record.received_at)
        return decoded.batch.column(name).to_pylist()


@asynccontextmanager
async def running(source: Source, resume: bytes | None = None) -> AsyncIterator[Run]:
    """Take what a source delivers, until the block ends; while ``taking`` is clear, ask for nothing more."""
    run = Run()
    run.taking.set()

    async def take() -> None:
        deliveries = source.deliveries(resume)
        try:
            async for record in deliveries:
                run.records.append(record)
                await run.taking.wait()
        finally:
            await deliveries.aclose()

    task = asyncio.create_task(take())
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def counted() -> Counter[str]:
    """What a source counted."""
    return Counter()


@pytest.fixture
def count(counted: Counter[str]) -> Callable[[str, int], None]:
    def add(reason: str, many: int) -> None:
        counted[reason] += many

    return add


@dataclass
class Certificates:
    """Files in PEM: an authority, a server and a client signed by it, and a stranger who signed himself."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    for name in ("authority", "server", "client", "stranger"):
        own = name in {"authority", "stranger"}
        key = authority_key if name == "authority" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = key if own else authority_key
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if own else authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return Certificates(folder)
