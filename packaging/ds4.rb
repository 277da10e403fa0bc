# Template of a Homebrew formula. VERSION, OWNER and SHA256 are those of a release's source archive.
class Ds4 < Formula
  desc "Runs DeepSeek V4 Flash on one machine"
  homepage "https://github.com/OWNER/ds4"
  url "https://github.com/OWNER/ds4/archive/refs/tags/vVERSION.tar.gz"
  sha256 "SHA256"
  license "MIT"
  head "https://github.com/OWNER/ds4.git", branch: "main"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "crates/ds4")
    bin.install_symlink "ds4" => "ds4-server"
    system bin/"ds4", "man", man1
    generate_completions_from_executable(bin/"ds4", "completions", shells: [:bash, :zsh, :fish])
  end

  service do
    run [opt_bin/"ds4", "serve"]
    keep_alive crashed: true
    log_path var/"log/ds4.log"
    error_log_path var/"log/ds4.log"
  end

  test do
    assert_match "57", shell_output("#{bin}/ds4 tokenize -p '57 + 85' 2>/dev/null")
    assert_match "\"version\"", shell_output("#{bin}/ds4 doctor --json")
  end
end
