"""The narrow model whose numbers were recorded, by this library's settings, with random frozen parts."""

# The taps' widths follow from the blocks': 128 of the VAE, and of the UNet a block and its skip together.
NARROW = [
    "backbone=sd_tiny",
    "text=clip_tiny",
    "captioner=clip_tiny",
    "protocol=odise",
    "mask_generator=mask2former",
    "image_size=256",
    "scale_range=[0.8,1.25]",
    "backbone.window_size=256",
    "backbone.projection_channels=128",
    "backbone.normalization_groups=32",
    "backbone.architecture.unet.block_out_channels=[32,64,128,128]",
    "backbone.architecture.vae.block_out_channels=[16,32,128,128]",
    "backbone.architecture.text_encoder.max_position_embeddings=77",
    "captioner.architecture.embed_dim=48",
    "text.encoder.architecture.embed_dim=48",
    "mask_generator.hidden_channels=64",
    "mask_generator.num_queries=40",
    "mask_generator.pixel_decoder_feedforward=96",
    "mask_generator.decoder_feedforward=128",
    "inference/clip_head=none",
    "data.root=data",
]
