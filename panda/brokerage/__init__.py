"""Pure brokerage: a snapshot goes in, a decision with every refusal comes out."""
