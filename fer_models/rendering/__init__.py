"""Drawing boxes, labels and timeline strips into frames."""
