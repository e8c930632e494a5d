"""The stages of ``mg data``: synth, import, split, crop; and the command stats."""
