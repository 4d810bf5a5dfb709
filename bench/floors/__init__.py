"""The least that a durable approval costs, without any framework. Orchestra is judged by the ratio to these."""
