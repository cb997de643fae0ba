"""Exports the model to ONNX from the same files that reembed uses, with mean pooling and normalisation inside.

    python export.py MODEL_DIR OUT_DIR

OUT_DIR gets `model.onnx` (as torch exports it) and `fused.onnx` (ONNX Runtime's own fusions for BERT).
"""

import sys
import warnings
from pathlib import Path

import torch
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from transformers import AutoModel

OPSET = 17


class SentenceModel(torch.nn.Module):
    """Maps token IDs and their attention mask to one vector of length 1 per text."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return mean / torch.linalg.vector_norm(mean, dim=1, keepdim=True)


def export(model_directory, out):
    # Eager attention: the fusions below match only this form.
    bert = AutoModel.from_pretrained(
        model_directory, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False
    )
    example = torch.tensor([[101, 7592, 2088, 102], [101, 7592, 102, 0]])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            SentenceModel(bert).eval(),
            (example, (example > 0).long()),
            out / "model.onnx",
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={
                "input_ids": {0: "texts", 1: "tokens"},
                "attention_mask": {0: "texts", 1: "tokens"},
                "vectors": {0: "texts"},
            },
            opset_version=OPSET,
            dynamo=False,
        )
    config = bert.config
    fusions = FusionOptions("bert")
    # Slower than the addition and the norm that it would replace.
    fusions.enable_skip_layer_norm = fusions.enable_bias_skip_layer_norm = False
    fused = optimizer.optimize_model(
        str(out / "model.onnx"),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=fusions,
    )
    fused.save_model_to_file(str(out / "fused.onnx"))
    print("fused:", {name: count for name, count in fused.get_fused_operator_statistics().items() if count})


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
