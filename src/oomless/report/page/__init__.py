"""Answers as parts of the page: HTML and SVG, escaped by construction, in English or Chinese."""
