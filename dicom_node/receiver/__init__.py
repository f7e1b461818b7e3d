"""Storage and Verification SCP: takes instances from known peers and answers success only when they are durable."""
