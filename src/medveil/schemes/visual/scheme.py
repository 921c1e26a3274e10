"""`Visual`, the scheme: options, what is dealt, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError, RefusedError, UnrecoverableError, UnsupportedError, UsageError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes.base import Claim, Finding, FindingKind, Part, Protected, Restored, Scheme, Secret

if TYPE_CHECKING:
    from medveil.attestation.providers.base import Provider
    from medveil.attestation.session import DealerKey, SessionSigner
    from medveil.attestation.statement import Statement
    from medveil.schemes.visual.envelope import Envelope
    from medveil.schemes.visual.secret import OwnerRecord
    from medveil.schemes.visual.signing import Signed

_CLAIM: Final = Claim(
    lossless=True,
    authenticated=True,
    threshold=(2, 2),
    thresholds=True,
    private_below_threshold=True,
    bit_depths=tuple(range(1, 17)),
    signed=True,
    colour=True,
    multiframe=True,
    floats=True,
    notes="the halftone is lossy; the original comes from the lossless layer. Shares tell the picture's dimensions",
)
_SESSION_LIFE: Final = 3600
_LONGEST: Final = 1 << 16


class Visual(Scheme):
    """Visual cryptography with attested shares; see the package's documentation.

    threshold: (k, n), 2 <= k <= n <= 8. halftone: floyd-steinberg, jarvis, stucki or void-and-cluster.
    carrier: lsb, chunk, dicom, or auto (lsb where the proof fits, else chunk). lossless: whether the shares also
    carry the original file. proof: session, compact or quote. recovery: stack, xor, count or descreen, for restoring
    without the lossless layer. frame: which frame the picture shows (0-based). longest_side: of the picture in
    pixels, for print; a larger one is shrunk, the lossless layer is not. provider: gramine, tsm, simulated, or a
    Provider; platform: the file of a simulated platform, a fresh one where none is given. signer: a session that
    signs instead of a new one. dealer: the dealer's key. context: 32 bytes that the statements bind. c2pa: a PEM file
    of certificates and key (`c2pa_manifest.Credential`); PNG shares then also carry a C2PA manifest.
    """

    name: ClassVar[str] = "visual"
    version: ClassVar[int] = 1
    claim: Claim = _CLAIM

    def __init__(
        self,
        *,
        threshold: tuple[int, int] = (2, 2),
        halftone: str = "floyd-steinberg",
        carrier: str = "auto",
        lossless: bool = True,
        proof: str = "session",
        recovery: str = "descreen",
        frame: int = 0,
        longest_side: int | None = None,
        provider: str | Provider = "simulated",
        platform: str | Path | None = None,
        signer: SessionSigner | None = None,
        dealer: DealerKey | None = None,
        context: bytes = b"",
        c2pa: str | Path | None = None,
    ) -> None:
        from medveil.schemes.visual import c2pa_manifest, carriers, signing
        from medveil.schemes.visual import halftone as halftones
        from medveil.schemes.visual import recovery as recoveries
        from medveil.schemes.visual.columns import columns

        columns(*threshold)
        halftones.check_halftone(halftone)
        signing.check_proof(proof)
        if carrier not in ("auto", "lsb", "chunk", "dicom"):
            known = ", ".join(("auto", *carriers.CARRIERS))
            raise InputError(f"there is no carrier {carrier!r} for a whole part: choose one of {known} but sidecar")
        recoveries.check_method(recovery, *threshold)
        if longest_side is not None and not 1 <= longest_side <= _LONGEST:
            raise InputError(f"a longest side of {longest_side} pixels makes no picture: choose 1 to {_LONGEST}")
        if signer is not None and proof != "session":
            raise UsageError("a signing session signs proofs of the form session only")
        if c2pa is not None and carrier == "dicom":
            raise UsageError("C2PA manifests go on PNG shares: choose another carrier than dicom")
        self.c2pa = None if c2pa is None else c2pa_manifest.Credential.load(Path(c2pa))
        self.threshold, self.halftone, self.carrier, self.proof = threshold, halftone, carrier, proof
        self.lossless, self.recovery, self.frame, self.context = lossless, recovery, frame, context
        self.longest_side = longest_side
        self.provider, self.platform, self.signer, self.dealer = provider, platform, signer, dealer
        self.claim = replace(_CLAIM, threshold=threshold, lossless=lossless)

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Deal an image to n shares; `roi` changes nothing but is checked.

        Raises UnsupportedError for a file that is no image, InputError where `roi` or `frame` does not lie in it or,
        with the carrier lsb, where it is too small for its proof, and what the provider raises.
        """
        return self._protect(image, roi, SYSTEM)

    def _protect(self, image: MedicalImage | OpaqueFile, roi: ROI, rng: Randomness) -> Protected:
        from medveil.imaging import roi as regions
        from medveil.imaging.windowing import to_display
        from medveil.schemes.visual import c2pa_manifest, carriers, lossless, secret, sharing, signing
        from medveil.schemes.visual import halftone as halftones

        if isinstance(image, OpaqueFile):
            raise UnsupportedError("visual cryptography shows pictures: protect other files with the scheme sealed")
        regions.check(roi, image)
        full = to_display(image, frame=self.frame)
        shown = _shrink(full, self.longest_side)
        if shown.size > carriers.MAX_SAMPLES:
            raise UnsupportedError(f"a picture of {shown.size} samples is larger than shares may be")
        k, n = self.threshold
        planes = sharing.share(halftones.halftone(shown, self.halftone), k, n, rng)
        layers, commitments = (b"",) * n, {}
        if self.lossless:
            layers, commitments[lossless.LABEL] = lossless.deal(image, k, n, rng)
        channels = shown.shape[2] if shown.ndim == 3 else 1
        plan = signing.Plan(
            k=k,
            n=n,
            rows=shown.shape[0],
            columns=shown.shape[1],
            channels=channels,
            halftone=self.halftone,
            made_at=int(time.time()),
            pairing=signing.fresh_pairing(rng),
            commitments=commitments,
            context=self.context,
            dealer=self._dealer(),
        )
        statements = [plan.statement(i + 1, planes[i]) for i in range(n)]
        signed, simulated = self._sign(statements)
        parts = []
        for i in range(n):
            carrier = self._carrier(signed.envelopes[i], shown.size)
            pixels, outside = carriers.render(carrier, planes[i], shown.shape, signed.envelopes[i], rng)
            data = carriers.write(carrier, pixels, outside, layers[i])
            if self.c2pa is not None:
                data = c2pa_manifest.embed(data, statements[i], self.c2pa)
            media_type = "application/dicom" if carrier == "dicom" else "image/png"
            parts.append(Part(i + 1, data, media_type, carriers.SUFFIX[carrier]))
        files = tuple(secret.file_digest(part.data) for part in parts)
        stated = tuple(statement.digest for statement in statements)
        record = secret.OwnerRecord(
            statements[0], files, stated, tuple(map(secret.layer_digest, layers)), self.recovery
        )
        findings = _marks(simulated=simulated) + self._losses(image, full.shape, shown.shape)
        return Protected(tuple(parts), Secret(self.name, record.pack()), signed.chain, findings)

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Check the parts against the owner's secret and give the original back, or the picture without a layer.

        Raises TamperedError where no part is one that was written, UnrecoverableError where fewer than k are intact,
        FormatError for a secret of another form.
        """
        from medveil.schemes.visual import restoring

        record = self._record(secret)
        return restoring.restore(record.admit(parts), record.recovery)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Say what is wrong with the parts; without the secret only whether they are consistent in themselves.

        Who made them is a matter of attestation: `admission.by_attestation`, on the command line
        `medveil visual restore --policy`. Raises as `restore`.
        """
        if secret is not None:
            return self.restore(parts, secret).findings
        from medveil.schemes.visual import admission, carriers

        findings: list[Finding] = []
        statements: dict[int, Statement] = {}
        for part in parts:
            data, said = (part.data, part.index) if isinstance(part, Part) else (part, None)
            try:
                statement = admission.check_consistent(carriers.read(data))
            except RefusedError as error:
                findings.append(Finding(FindingKind.TAMPER, str(error), part=said))
                continue
            if said not in (None, statement.index):
                findings.append(Finding(FindingKind.SWAPPED, f"part {said} is really part {statement.index}", said))
            if any(statement.pairing != other.pairing for other in statements.values()):
                findings.append(Finding(FindingKind.FOREIGN, "a part belongs to another image", part=said))
            statements[statement.index] = statement
        if not statements:
            raise UnrecoverableError("no part is intact: bring back parts as protect wrote them")
        return tuple(findings)

    def _record(self, given: Secret) -> OwnerRecord:
        from medveil.schemes.visual.secret import OwnerRecord

        if given.scheme != self.name:
            raise UsageError(f"the secret belongs to scheme {given.scheme!r}: restore with that scheme")
        return OwnerRecord.unpack(given.data)

    def _losses(self, image: MedicalImage, full: tuple[int, ...], shown: tuple[int, ...]) -> tuple[Finding, ...]:
        """Say what the picture of the shares has not, beyond being a halftone, and where it is."""
        lost = []
        if image.bits_stored > 8 or image.pixels.dtype.kind == "f":
            lost.append(f"its {image.bits_stored} bits were windowed to 8")
        if full != shown:
            lost.append(f"it was shrunk from {full[1]} x {full[0]} to {shown[1]} x {shown[0]} pixels")
        if image.frames > 1:
            lost.append(f"it shows frame {self.frame + 1} of {image.frames}")
        if not lost:
            return ()
        kept = "the lossless layer has everything" if self.lossless else "there is no lossless layer to keep the rest"
        message = f"the picture of the shares is less than the image: {', '.join(lost)}; {kept}"
        return (Finding(FindingKind.APPROXIMATE, message),)

    def _carrier(self, envelope: Envelope, samples: int) -> str:
        from medveil.schemes.visual import frame

        if self.carrier != "auto":
            return self.carrier
        return "lsb" if len(envelope.encode()) <= frame.capacity(samples) else "chunk"

    def _dealer(self) -> bytes:
        if self.signer is not None:
            return self.signer.session.dealer
        return self.dealer.public if self.dealer else b""

    def _sign(self, statements: list[Statement]) -> tuple[Signed, bool]:
        """Return the envelopes, and whether what vouches for them is simulated."""
        from medveil.attestation.session import SessionSigner
        from medveil.schemes.visual import signing

        if self.proof == "session":
            signer = self.signer
            if signer is None:
                started = statements[0].made_at
                signer = SessionSigner(self._provider(), started, lifetime=_SESSION_LIFE, dealer=self.dealer)
            signed = signing.sign_by_session(statements, signer, carry_session=True)
            return signed, signer.session.evidence.simulated
        provider = self._provider()
        signed = signing.sign_by_quotes(statements, provider, self.dealer, short=self.proof == "compact")
        return signed, provider.name == "simulated"

    def _provider(self) -> Provider:
        from medveil.attestation.providers.base import Provider
        from medveil.attestation.providers.registry import open_provider
        from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider

        if isinstance(self.provider, Provider):
            return self.provider
        if self.provider != "simulated":
            return open_provider(self.provider)
        if self.platform is not None:
            return SimulatedProvider(SimulatedPlatform.load(Path(self.platform)))
        return SimulatedProvider(SimulatedPlatform.create(int(time.time()) - 60))


def _shrink(picture: npt.NDArray[np.uint8], longest_side: int | None) -> npt.NDArray[np.uint8]:
    from medveil.imaging.resampling import resize

    longest = max(picture.shape[:2])
    if longest_side is None or longest <= longest_side:
        return picture
    rows, columns = (max(1, round(side * longest_side / longest)) for side in picture.shape[:2])
    return resize(picture, rows, columns)


def _marks(*, simulated: bool) -> tuple[Finding, ...]:
    if not simulated:
        return ()
    message = "signed under a SIMULATED platform: no production policy accepts these shares, only their owner's secret"
    return (Finding(FindingKind.UNVERIFIED, message),)
