"""PyInstaller hook: the embedded models, and the modules of prediction, which emovox imports lazily."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

datas = collect_data_files("emovox") + copy_metadata("emovox", recursive=False)
hiddenimports = [
    name for package in ("audio", "bundles", "inference") for name in collect_submodules(f"emovox.{package}")
]
# Used by other commands only; PyInstaller would bundle whatever of them is installed.
excludedimports = ["torch", "sklearn", "scipy", "librosa", "pandas", "matplotlib", "transformers", "ray"]
