"""One invocation: claim, begin, the calls in flight, leases, and the loop; and the sweep."""
