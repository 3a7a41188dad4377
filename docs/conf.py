"""Sphinx: the pages of this folder and the Python reference from docstrings (`make docs`)."""

import logsum

project = "logsum"
author = copyright = "The logsum authors"  # noqa: A001 (Sphinx's name)
version = release = logsum.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give the types
html_theme = "furo"
