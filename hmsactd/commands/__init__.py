"""The commands of `hmsactd`, a module each."""
