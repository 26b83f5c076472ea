"""Text and JSON views of an answer. No arithmetic beyond shares and units."""
