"""The kinds of champion that a training can make."""
