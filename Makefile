TOPICS = text skeleton physics quality speed models memory evolve
.PHONY: check test native bench tables $(TOPICS:%=bench-%)

check:            ## what CI runs
	.ci/run

test:
	pytest

native:           ## build the kernels into the source tree
	cargo build --release --manifest-path native/Cargo.toml
	cp --remove-destination native/target/release/libbowstring_native.* src/bowstring/ 2>/dev/null || true
	rm -f src/bowstring/libbowstring_native.d src/bowstring/libbowstring_native.rlib

bench: $(TOPICS:%=bench-%) tables

$(TOPICS:%=bench-%): bench-%:   ## text, skeleton (extra bench), physics (extra physics-bench), quality (extra judges), speed, memory (extra memory-bench)
	bowstring bench $* --out bench/results

tables:           ## the README's tables, made from bench/results
	python -m bowstring.eval.tables
