"""Any JSON value, and any text that JSON can hold."""

from __future__ import annotations

from hypothesis import strategies as st

any_text = st.text(st.characters(exclude_categories=()))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4) | any_text,
    max_leaves=20,
)
