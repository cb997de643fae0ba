"""Makes the int8 models of OpenVINO and ONNX Runtime from the exported one.

    python quantize.py MODEL_DIR WORK_DIR

This command reads `model.onnx` and `calibration.json` in the work directory. It writes `openvino-int8.xml` with its
`.bin` (NNCF's static quantization for transformers) and `int8.onnx` (ONNX Runtime's dynamic quantization).
"""

import json
import os
import sys
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from peers import fast_tokenizer, padded, tokenize

# Without it NNCF reports its use over the network.
os.environ["NNCF_CI"] = "1"


def quantize_for_openvino(model_directory, work):
    import nncf
    import openvino as ov

    texts = json.loads((work / "calibration.json").read_text())
    ids = tokenize(fast_tokenizer(model_directory), texts)
    quantized = nncf.quantize(
        ov.Core().read_model(work / "model.onnx"),
        # One text at a time: padding would count as text.
        nncf.Dataset(range(len(ids)), lambda row: dict(zip(("input_ids", "attention_mask"), padded(ids, [row])))),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(ids),
    )
    # The rest keeps f32, as in the other exported files.
    ov.save_model(quantized, work / "openvino-int8.xml", compress_to_fp16=False)


def quantize_for_onnx_runtime(work):
    # From the plain export: in `fused.onnx` attention is one operator, whose weights would get 7 bits.
    quantize_dynamic(work / "model.onnx", work / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)


if __name__ == "__main__":
    directory = Path(sys.argv[2])
    quantize_for_onnx_runtime(directory)
    quantize_for_openvino(Path(sys.argv[1]), directory)
