#!/bin/bash
# A Megatron-LM run: 7B parameters on 16 cards.
torchrun --nproc-per-node 8 --nnodes 2 pretrain_gpt.py \
    --num-layers 32 --hidden-size 4096 --num-attention-heads 32 --group-query-attention --num-query-groups 8 \
    --ffn-hidden-size 14336 --swiglu --normalization RMSNorm --disable-bias-linear --untie-embeddings-and-output-weights \
    --position-embedding-type rope --seq-length 8192 --max-position-embeddings 8192 --vocab-size 128256 \
    --hidden-dropout 0.0 --attention-dropout 0.0 --micro-batch-size 1 --global-batch-size 128 --bf16 --lr 3e-4 \
    --tensor-model-parallel-size 4 --sequence-parallel --pipeline-model-parallel-size 2 \
    --use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather
