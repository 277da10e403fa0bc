# The program with one word. Everything is cargo's; this file only names what people type.

PREFIX ?= $(HOME)/.local
TARGET := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: all test check install clean

# The release program, and the C server's name for it.
all:
	cargo build --release
	ln -sf ds4 $(TARGET)/ds4-server
	ln -sf $(TARGET)/ds4 ds4
	ln -sf $(TARGET)/ds4 ds4-server

test:
	cargo test --workspace

# Everything that must pass.
check:
	bash .ci/run

# Program, man pages and completions below PREFIX.
install: all
	install -d $(PREFIX)/bin $(PREFIX)/share/man/man1 $(PREFIX)/share/bash-completion/completions
	install -d $(PREFIX)/share/zsh/site-functions $(PREFIX)/share/fish/vendor_completions.d
	install -m 755 $(TARGET)/ds4 $(PREFIX)/bin/ds4
	ln -sf ds4 $(PREFIX)/bin/ds4-server
	$(TARGET)/ds4 man $(PREFIX)/share/man/man1
	$(TARGET)/ds4 completions bash > $(PREFIX)/share/bash-completion/completions/ds4
	$(TARGET)/ds4 completions zsh > $(PREFIX)/share/zsh/site-functions/_ds4
	$(TARGET)/ds4 completions fish > $(PREFIX)/share/fish/vendor_completions.d/ds4.fish

clean:
	cargo clean
	rm -f ds4 ds4-server
