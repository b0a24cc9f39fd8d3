"""PyInstaller hook: its own one expects the distribution `webrtcvad`; emovox installs `webrtcvad-wheels`."""

datas = []
