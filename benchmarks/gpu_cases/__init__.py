"""What `benchmarks/kernels_gpu.py` measures: one module for each family of operators.

A family adds itself by a module `gpu_cases/<family>.py` with one function::

    def cases(device: torch.device, tiny: bool) -> list[Case]:
        '''The family's problems, the most telling first. `tiny` asks for shapes that the CPU
        solves in milliseconds; there the crosscam side runs the CPU implementation.'''

Nothing needs registering: the modules of this folder are found by name. `cases` only describes;
what costs memory or time belongs into `Case.prepare`, which is called when the case's turn comes
and whose result is dropped before the next one::

    def cases(device, tiny):
        n, d = (64, 32) if tiny else (4096, 2048)

        def prepare() -> Sides:
            x = torch.randn(n, d, device=device, dtype=torch.float16)
            wanted = reference(x.double())

            def check(name, found):  # called once for each side, before it is timed
                assert_close(found, wanted, rtol=1e-3, atol=1e-4)

            return Sides({"crosscam": lambda: ours(x), "torch eager": lambda: eager(x)}, check)

        return [Case("batch_hard", {"N": n, "D": d}, "float16", prepare,
                     bytes_moved=2 * n * d, flops=2 * n * n * d)]

The runner checks every side first and never times one that is wrong; it interleaves the sides,
reports p20 / p50 / p80, peak memory, and the share of the floor ``max(bytes / measured copy
bandwidth, flops / measured matrix rate)``, and stops starting cases when its time is up. Families
take turns, so that each has its first cases measured.
"""
