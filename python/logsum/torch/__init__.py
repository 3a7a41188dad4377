"""The face for PyTorch. Importing it registers the operators ``torch.ops.logsum.*``."""

__all__: list[str] = []
