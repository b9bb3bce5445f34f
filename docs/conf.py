"""How the site is built: sphinx, furo, myst. Warnings are errors, and the examples in the pages run (make docs)."""

import ghostd

project = "ghostd"
copyright = "the ghostd authors, Apache License 2.0"
release = version = ghostd.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "review"]
nitpicky = False  # names in docstrings are written for readers of the code, not as links

html_theme = "furo"
html_title = f"ghostd {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
