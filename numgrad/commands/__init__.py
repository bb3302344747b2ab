"""The commands of ``python -m numgrad``, and what they write. ``numgrad.__main__`` reads their options."""
