.PHONY: check test bench bench-text bench-skeleton bench-physics bench-quality bench-speed native

check:            ## what CI runs
	.ci/run

test:
	pytest

native:           ## build the kernels into the source tree
	cargo build --release --manifest-path native/Cargo.toml
	cp native/target/release/libbowstring_native.* src/bowstring/ 2>/dev/null || true
	rm -f src/bowstring/libbowstring_native.d src/bowstring/libbowstring_native.rlib

bench: bench-text bench-skeleton bench-physics bench-quality bench-speed

bench-text:       ## quality and speed of the text model; needs the corpora of `bowstring data`
	bowstring bench text --json | tee bench/results/text.json

bench-skeleton:   ## kernels, 350 M network and weights file beside their rivals; needs the extra `bench`
	bowstring bench skeleton --json | tee bench/results/skeleton.json

bench-physics:    ## chains and fields beside their rivals; needs the extra `physics-bench`
	bowstring bench physics --json | tee bench/results/physics.json

bench-quality:    ## pictures, speech and face and their judges; needs the corpora of `bowstring data`
	bowstring bench quality --json | tee bench/results/quality.json

bench-speed:      ## how long a picture, speech and a conversation take
	bowstring bench speed --json | tee bench/results/speed.json
