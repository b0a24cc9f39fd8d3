"""Words and speakers: speech recognition (extra ``asr``), speaker diarization (extra ``diarize``)."""
