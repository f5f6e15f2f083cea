"""Pass 5: the model to C++, introspection and reference pages. Each emitter returns {file name: text}."""
