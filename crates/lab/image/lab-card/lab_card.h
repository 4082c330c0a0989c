/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that nobody has been given. */
#define LAB_CARD_VENDOR 0xacce
#define LAB_CARD_PF 0x0001
#define LAB_CARD_VF 0x0002
