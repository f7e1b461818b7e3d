"""What goes over the wire: PDUs, DIMSE messages, presentation contexts, TLS. It knows nothing of the node."""
