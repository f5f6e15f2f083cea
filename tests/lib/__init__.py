"""Shared code of the black-box tests: the server under test, its clients, images, and the conformance oracle."""
