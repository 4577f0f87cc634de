"""What things look like to whoever asks: plain values that services make, the API sends, pages and commands show."""
