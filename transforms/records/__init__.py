"""What flows between the rooms: images, chunks, accounts, and how they are encoded."""
