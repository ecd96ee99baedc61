"""How the operator talks to a control plane: watching, queueing, writing, leading; nothing here knows what an MSMRun is."""
