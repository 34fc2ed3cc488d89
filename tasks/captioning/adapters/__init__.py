"""Kinds of pretrained models that write about images, one file a kind; `seqrl.tasks.captioning.adapters.kinds` lists them."""
