"""What an evaluation adds up image by image: PQ, AP, Dice."""
