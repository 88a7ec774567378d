"""Whether the model, the weights of published networks and the detector can be had, and work."""

import time

import numpy as np

from raytalk.doctor.finding import Finding, mend, note, ok
from raytalk.evaluation.metrics.identity import ARCFACE_FILE
from raytalk.evaluation.metrics.lpips import VGG16_FILE
from raytalk.faces.detect import AUTO, make_detector, resolve_detector
from raytalk.learning.pretrained import load_pretrained
from raytalk.networks.inception import INCEPTION_FILE
from raytalk.networks.perceptual import SPECS
from raytalk.networks.weights import has_weights


def checkpoint(uri: str, tracking_uri: str, weights: str) -> list[Finding]:
    """The model itself, and the networks of the content loss that people are enrolled with. Raises CheckpointError."""
    pretrained = load_pretrained(uri, tracking_uri)
    state, networks = pretrained.state, pretrained.networks
    text = f"{uri}: {networks.resolution} px, {state.episodes:,} episodes, landmarks by {state.detector}"
    trained = [str(network["name"]) for network in state.perceptual]
    lost = [name for name in trained if name in SPECS and not has_weights(SPECS[name].weights, weights)]
    if lost:
        files = " and ".join(f"{SPECS[name].weights.name} ({SPECS[name].weights.source})" for name in lost)
        return [mend("checkpoint", f"{text}; people cannot be learned without {files}: put it where weights= says")]
    return [ok("checkpoint", text)]


def published(weights: str) -> list[Finding]:
    """Which published files of weights are here; what goes without them works, under another name."""
    wanted = {f"{spec.name} (content loss)": spec.weights for spec in SPECS.values()}
    wanted |= {"LPIPS": VGG16_FILE, "FID": INCEPTION_FILE, "CSIM": ARCFACE_FILE}
    here = [name for name, file in wanted.items() if has_weights(file, weights)]
    findings = [ok("weights", f"here: {', '.join(here)}")] if here else []
    lost = [f"{name}: {file.name} from {file.source}" for name, file in wanted.items() if name not in here]
    if lost:
        findings.append(note("weights", f"not here, so stand-ins are used or presets refused: {'; '.join(lost)}"))
    return findings


def detector(name: str, device: str) -> list[Finding]:
    """Finds a face in a photograph that comes with scikit-image. Raises WeightsError or SettingsError."""
    from skimage import data

    asked = resolve_detector(name)
    finder = make_detector(asked, device)
    picture = np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    finder.detect([picture])  # the first picture pays for what is loaded late
    start = time.perf_counter()
    (faces,) = finder.detect([picture])
    seconds = time.perf_counter() - start
    whole = [face for face in faces if face.landmarks.shape == (68, 2) and np.isfinite(face.landmarks).all()]
    if len(whole) != 1:
        return [mend("detector", f"{asked} finds {len(whole)} faces in a photograph of one person: install it again")]
    text = f"{asked} on {device}: a face of {whole[0].extent:.0f} px in {1000 * seconds:.0f} ms"
    if name == AUTO and asked != "face-alignment":
        return [note("detector", f"{text}; the paper's, face-alignment, has no weights here (docs/doctor.md)")]
    return [ok("detector", text)]
