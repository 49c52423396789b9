"""llama-server of the same build as Wick's second engine, to hold Wick against.

`python -m tests.bench.llama_server FILE.gguf [--threads 2] [--slots 8] [--context 4096]` serves
until its input ends or it is interrupted, and says where. The package that brings the library for
Wick also brings llama-server's own HTTP server, queue, cache and sampling, as a class; this only
starts it.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path


def main() -> None:
    options = _parse()
    import xllamacpp  # type: ignore[import-untyped, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_gpu_layers = 0
    params.port = options.port
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    os._exit(0)  # its threads end with the process


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--context", type=int, default=4096, help="tokens of one slot")
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
