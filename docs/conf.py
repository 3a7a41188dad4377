"""Sphinx: the pages of this folder and the Python reference from docstrings (`make docs`)."""

import importlib.util

import logsum

project = "logsum"
author = copyright = "The logsum authors"  # noqa: A001 (Sphinx's name)
version = release = logsum.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give the types
# The face for PyTorch can't be imported, and so not described, without it.
exclude_patterns = [] if importlib.util.find_spec("torch") else ["api_torch.rst"]
html_theme = "furo"
