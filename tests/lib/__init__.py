"""What the black-box tests share: the server under test, its clients, images, and the conformance oracle."""
