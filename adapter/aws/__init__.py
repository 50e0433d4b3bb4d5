"""The engine's ports on AWS: DynamoDB, EventBridge Scheduler, Lambda."""
