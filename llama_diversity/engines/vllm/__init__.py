"""Models on vLLM servers: `engine` is the client, `plugin` runs inside; `llamadiv vllm-args` prints its flags."""
