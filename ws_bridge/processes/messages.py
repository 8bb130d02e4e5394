"""What the supervisor and its workers write to each other, a line each."""

# To a worker ...
DRAIN, FORCE = "drain", "force"
# ... and from a worker.
LISTENING, READY, RELIEVE, UNUSABLE = "listening", "ready", "relieve", "unusable"
