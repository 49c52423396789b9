"""What a person does with chats: submit, stop, recover; live streams and the hub."""
