"""The site of docs/en and docs/zh: `make docs`."""

project = "oomless"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples", "traces"]
html_theme = "furo"
html_title = "oomless"
html_copy_source = False
html_show_copyright = False
html_last_updated_fmt = None
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]
html_search_language = "zh"
